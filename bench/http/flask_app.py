"""The same answer as fastapi_app's, by Flask."""

from flask import Flask

app = Flask(__name__)


@app.get("/item/<int:number>")
def item(number):
    return {"number": number, "name": "nut", "tags": ["small", "round"], "price": 0.25}
