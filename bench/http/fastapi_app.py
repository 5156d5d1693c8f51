"""A small JSON answer by FastAPI, with a validated path parameter."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/item/{number}")
async def item(number: int):
    return {"number": number, "name": "nut", "tags": ["small", "round"], "price": 0.25}
