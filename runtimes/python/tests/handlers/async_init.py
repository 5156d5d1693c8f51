async def init(config):
    pass


def f(data):
    pass
