"""A Flask app as users write them."""

import hashlib
import time

import flask

app = flask.Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 64 << 20
closed = 0


@app.get("/json")
def json():
    return {"hello": flask.request.args.get("name", "world"), "root": flask.request.script_root}


@app.post("/json")
def json_back():
    return flask.jsonify(flask.request.get_json())


@app.post("/form")
def form():
    return {name: flask.request.form.getlist(name) for name in flask.request.form}


@app.post("/upload")
def upload():
    file = flask.request.files["file"]
    data = file.read()
    return {"name": file.filename, "size": len(data), "sha": hashlib.sha256(data).hexdigest(), **flask.request.form}


@app.get("/stream")
def stream():
    def pieces():
        for i in range(int(flask.request.args["n"])):
            yield f"piece {i} of {flask.request.path}\n"

    return flask.Response(flask.stream_with_context(pieces()), mimetype="text/plain")


@app.get("/file")
def file():
    return flask.send_file(flask.request.args["path"], mimetype="application/octet-stream")


@app.get("/after")
def after():
    """What is to be done once the answer is out."""

    def count():
        global closed
        closed += 1

    response = flask.make_response(str(closed))
    response.call_on_close(count)
    return response


@app.get("/slow")
def slow():
    time.sleep(float(flask.request.args["s"]))
    return "slept"


@app.get("/fails")
def fails():
    raise LookupError(f"in a view {flask.request.args['mark']}")


@app.get("/log")
def log():
    app.logger.warning("watch out %s", flask.request.args["mark"])
    return "logged"


@app.get("/url")
def url():
    return flask.url_for("url", _external=True)


@app.get("/cookies")
def cookies():
    response = flask.jsonify(flask.request.cookies)
    response.set_cookie("one", "1")
    response.set_cookie("two", "2")
    return response


def make():
    return app
