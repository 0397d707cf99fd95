"""The archive over HTTP.

    GET /                                   feeders
    GET /FEEDER/status   /genesis?number=0   /headers?first=0&count=2016
    GET /FEEDER/header?slot=K   /catch-up?old=N   /consistency?old=N&new=M
    GET /FEEDER/receipt?member=M&slot=K[&show=trade,rules]   /account?member=M[&slot=K][&show=…]   /search?kind=trades&member=M&first=K&…   /block?slot=K
        with `Authorization: Bearer TOKEN` (answers.py: who may ask what)
"""
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from .answers import WORDS, Forbidden, answer, asker
from .chain import Refused
from .format import Malformed

MOST_ASKERS = 32  # connections at a time, each a thread; whoever comes then is told to come again
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "prosumer-archive"
    timeout = 30

    def do_GET(self):
        archive, url = self.server.archive, urlsplit(self.path)
        parts = [p for p in url.path.split("/") if p]
        try:
            if not parts:
                return self._say(200, {"feeders": [{"feeder": f.hex(), "street": name} for f, name in archive.feeders()]})
            feeder = bytes.fromhex(parts[0])
            if len(parts) != 2 or len(feeder) != 8:
                raise ValueError
            given = {k.replace("-", "_"): v if k in WORDS else int(v) for k, v in parse_qsl(url.query)}
        except ValueError:
            return self._say(400, {"error": "ask as /FEEDER/QUESTION?name=number"})
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        try:
            who = asker(archive, feeder, token.strip()) if scheme == "Bearer" else None
            self._say(200, answer(archive, feeder, parts[1], given, who))
        except Forbidden as error:
            self._say(403, {"error": str(error)})
        except Refused as error:
            self._say(404, {"error": str(error)})
        except Malformed as error:
            self._say(500, {"error": f"a record here is damaged: {error}"})
        except archive.db.errors as error:
            self._say(500, {"error": f"the database fails: {str(error).splitlines()[0]}"})

    def _say(self, code, what):
        data = what if isinstance(what, bytes) else (json.dumps(what) + "\n").encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(what, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, archive, host="127.0.0.1", port=0):
        self.archive = archive
        self._room = threading.BoundedSemaphore(MOST_ASKERS)
        super().__init__((host, port), _Handler)

    def process_request(self, request, client_address):
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            request.sendall(_BUSY)
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    @property
    def url(self):
        return f"http://{self.server_address[0]}:{self.server_address[1]}"

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self
