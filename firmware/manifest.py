# Freeze the firmware into a custom MicroPython build, so that its code costs no heap. In the build's own manifest:
#
#     include("$(PORT_DIR)/boards/manifest.py")
#     include("…/firmware/manifest.py")
#
# boot.py, main.py and the board's board.py stay files on the board: they are what differs between boards.
metadata(version="0.1.0", description="A meter that trades its street's electricity with its neighbours", license="MIT")
require("umqtt.simple")
package("prosumer", opt=2)
