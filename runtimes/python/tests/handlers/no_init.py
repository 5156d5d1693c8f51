def f(data):
    return data
