"""Between meters: session.py keeps one MQTT connection (umqtt.simple) from ever hurting the meter, topics.py names what is said where."""
