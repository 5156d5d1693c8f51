"""Source code to HTML, by Pygments: a function in Python for `interface wasi-http`. `/?lexer=go` says what it is.

componentize-py -d WIT -w wasi:http/proxy@0.2.12 componentize app -o highlight.wasm
"""

from urllib.parse import parse_qs, urlsplit

from componentize_py_types import Err, Ok
from pygments import highlight
from pygments.formatters import HtmlFormatter

# What is imported here is imported when the component is made: a request finds it done.
from pygments.lexers import CLexer, GoLexer, JavascriptLexer, PythonLexer, RustLexer
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam

LEXERS = {"c": CLexer, "go": GoLexer, "javascript": JavascriptLexer, "python": PythonLexer, "rust": RustLexer}
PAGE = HtmlFormatter(full=True, linenos=True, title="highlighted")
PIECE = 4096


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        query = parse_qs(urlsplit(request.path_with_query() or "").query)
        name = query.get("lexer", ["python"])[0]
        if name not in LEXERS:
            answer(response_out, 404, "text/plain", f"no such lexer: {name}; there are {', '.join(LEXERS)}\n")
            return
        code = read(request).decode("utf-8", "replace")
        answer(response_out, 200, "text/html; charset=utf-8", highlight(code, LEXERS[name](), PAGE))


def read(request: IncomingRequest) -> bytes:
    pieces = []
    with request.consume() as body, body.stream() as stream:
        while True:
            try:
                pieces.append(stream.blocking_read(65536))
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return b"".join(pieces)
                raise


def answer(out: ResponseOutparam, status: int, kind: str, text: str) -> None:
    content = text.encode()
    headers = Fields.from_list([("content-type", kind.encode()), ("content-length", str(len(content)).encode())])
    response = OutgoingResponse(headers)
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(out, Ok(response))
    with body.write() as stream:
        for at in range(0, len(content), PIECE):
            stream.blocking_write_and_flush(content[at : at + PIECE])
    OutgoingBody.finish(body, None)
