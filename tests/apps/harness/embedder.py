"""A server of embeddings on this machine that asks for no key, as Ollama is one."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# How long its vectors are when none is asked for.
DIMENSION = 16


class Embedder:
    """Runs until it is stopped; keeps what it was asked."""

    def __init__(self) -> None:
        # Path, names of header fields, and body of each request.
        self.requests: list[tuple[str, set[str], Any]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def base(self) -> str:
        """Its base URL, ending in /v1."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                requests.append((self.path, {name.lower() for name in self.headers}, body))
                texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
                vector = [0.5] * body.get("dimensions", DIMENSION)
                data = [
                    {"object": "embedding", "index": index, "embedding": vector}
                    for index, _ in enumerate(texts)
                ]
                usage = {"prompt_tokens": 7, "total_tokens": 7}
                self._answer({"object": "list", "data": data, "model": body["model"], "usage": usage})

            def do_GET(self) -> None:
                model = {"id": "nomic-embed-text", "object": "model", "created": 1, "owned_by": "library"}
                self._answer({"object": "list", "data": [model]})

            def _answer(self, answer: object) -> None:
                text = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
