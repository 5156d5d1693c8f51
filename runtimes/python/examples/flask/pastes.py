"""Pastes: text or files that are kept under a name. A Flask app as it is, without a line about nffi.

PASTES: the folder that they are kept in.
"""

import os
import pathlib
import secrets
import shutil

from flask import Flask, Response, abort, request, send_file, stream_with_context, url_for

app = Flask(__name__)
folder = pathlib.Path(os.environ.get("PASTES", "/tmp/pastes"))
folder.mkdir(parents=True, exist_ok=True)

PAGE = """<!doctype html><title>Pastes</title><h1>Pastes</h1>
<form action="{action}" method="post" enctype="multipart/form-data">
<input type="file" name="file"><button>Keep</button>
</form>
<ul>"""


def found(name: str) -> pathlib.Path:
    path = folder / name
    if not name.isalnum() or not path.is_file():
        abort(404)
    return path


@app.get("/")
def index():
    def lines():
        # Sent while the folder is read, however many there are.
        yield PAGE.format(action=url_for("keep"))
        for entry in sorted(folder.iterdir()):
            yield f'<li><a href="{url_for("show", name=entry.name)}">{entry.name}</a>, {entry.stat().st_size} bytes\n'

    return Response(stream_with_context(lines()), mimetype="text/html")


@app.post("/pastes")
def keep():
    name = secrets.token_hex(8)
    if request.mimetype == "multipart/form-data":
        request.files["file"].save(folder / name)
    else:
        # However much it is: not through memory.
        with (folder / name).open("xb") as file:
            shutil.copyfileobj(request.stream, file)
    app.logger.info("%s: %d bytes", name, (folder / name).stat().st_size)
    return {"name": name, "url": url_for("show", name=name)}, 201


@app.get("/pastes/<name>")
def show(name):
    # nginx sends the file: no byte of it goes through Python.
    return send_file(found(name), mimetype="text/plain")


@app.delete("/pastes/<name>")
def remove(name):
    found(name).unlink()
    return "", 204
