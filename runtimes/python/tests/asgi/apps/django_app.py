"""Django, as its ASGI handler: one file for a whole project."""

import asyncio

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse

if not settings.configured:
    settings.configure(
        DEBUG=False,
        SECRET_KEY="of a test",
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=[],
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        FILE_UPLOAD_MAX_MEMORY_SIZE=1 << 16,
    )
    django.setup(set_prefix=False)


def plain(request):
    return HttpResponse("a def", content_type="text/plain")


async def coroutine(request):
    await asyncio.sleep(0)
    return JsonResponse({"path": request.path, "reversed": reverse("coroutine"), "query": request.GET.get("q")})


def upload(request):
    file = request.FILES["file"]
    return JsonResponse(
        {"name": file.name, "size": sum(len(piece) for piece in file.chunks()), "field": request.POST["field"]}
    )


async def pieces():
    for i in range(50):
        yield f"{i}\n"
        await asyncio.sleep(0)


async def stream(request):
    return StreamingHttpResponse(pieces(), content_type="text/plain")


def kaboom(request):
    raise ValueError("kaboom in Django")


urlpatterns = [
    path("plain", plain),
    path("async", coroutine, name="coroutine"),
    path("upload", upload),
    path("stream", stream),
    path("kaboom", kaboom),
]
app = get_asgi_application()
