"""A Django project in one file."""

import hashlib
import os

import django
from django.conf import settings
from django.core.signals import request_finished
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    # Half of what is uploaded here goes to a file.
    FILE_UPLOAD_MAX_MEMORY_SIZE=100_000,
    DATA_UPLOAD_MAX_MEMORY_SIZE=64 << 20,
)
django.setup()

finished = 0


def count(**_):
    global finished
    finished += 1


request_finished.connect(count)


def json(request):
    if request.method == "POST":
        return HttpResponse(request.body, content_type="application/json")
    return JsonResponse({"hello": request.GET.get("name", "world"), "root": request.META["SCRIPT_NAME"]})


def form(request):
    return JsonResponse(dict(request.POST.lists()))


def upload(request):
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    kind = type(file).__name__
    return JsonResponse({"name": file.name, "size": file.size, "sha": digest.hexdigest(), "kind": kind})


def stream(request):
    n = int(request.GET["n"])
    return StreamingHttpResponse((f"piece {i} of {request.path}\n" for i in range(n)), content_type="text/plain")


def file(request):
    return FileResponse(open(request.GET["path"], "rb"), content_type="application/octet-stream")


def fails(request):
    raise LookupError(f"in a view {request.GET['mark']}")


def report(request):
    return JsonResponse({"finished": finished, "pid": os.getpid()})


def url(request):
    return HttpResponse(request.build_absolute_uri())


urlpatterns = [path(view.__name__, view) for view in (json, form, upload, stream, file, fails, report, url)]

from django.core.wsgi import get_wsgi_application  # noqa: E402

application = get_wsgi_application()
