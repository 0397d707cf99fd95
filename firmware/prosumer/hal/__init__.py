"""The hardware layer: one module a chip, one class `Hal`, which board.py makes. Nothing else imports machine or network.

    rate_hz, channels     of the samples; window_ms: how often read_window is due; frames_max: what one call can return
    read_window(buf)      int16 frames into `buf` → (frames, covers_ms); covers_ms 0: a continuous stream. (0, 0): not yet
    lost                  frames lost before what was just read: for Meter.lost, before its window
    out                   a bit for each clamp whose plug is out, from the lowest; 0 where no switch tells
    meter(channels, calibration)   only where a chip meters: it stands in Meter's place, and a window is the time it counted
    now_ms()              Unix ms, never going back; its first call waits until the time is known
    noise(n)              n bytes as the chip's generator gives them, seen to be bound to it and fed, or Halt: for identity/entropy.py
    entropy(n)            n bytes (32 at most) that nobody can guess
    unique_id()           the number of the chip, for people
    binding()             bytes that no other chip has, nor any of this one's files: for the key store
    wait(deadline, link)  idle until link.sock has data (True) or the deadline in Unix ms is reached (False)
    set_power(name, mw)   what an actuator shall do; Halt for one the board does not have
    plant()               (soc_mwh, capacity_mwh, ev_plugged, ev_need_mwh, ev_deadline_s, relay)
    network_up()          whether the network stands
    feed(), reset()       the watchdog: fed by each step of the agent
"""
