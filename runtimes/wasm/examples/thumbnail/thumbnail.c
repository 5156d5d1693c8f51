/* A thumbnail of an image: a function in C for `interface message`. stdin is a JPEG, PNG, GIF or BMP, stdout a JPEG of
 * at most 160 by 160. Images are read by stb_image: a bug in it, or an image that is made to meet one, harms
 * nobody but this request. */

#include <stdio.h>
#include <stdlib.h>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_NO_THREAD_LOCALS
#include <stb_image.h>
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#include <stb_image_resize.h>
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb_image_write.h>

enum { SIDE = 160, QUALITY = 85 };

static void put(void *to, void *data, int size)
{
    fwrite(data, 1, (size_t) size, to);
}

static int fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    return 1;
}

int main(void)
{
    size_t room = 64 << 10, size = 0, n;
    unsigned char *image = malloc(room), *pixels, *small;
    int width, height, w = SIDE, h = SIDE;

    while (image != NULL && (n = fread(image + size, 1, room - size, stdin)) > 0) {
        size += n;
        if (size == room) {
            image = realloc(image, room *= 2);
        }
    }
    if (image == NULL) {
        return fail("no memory for the image");
    }
    pixels = stbi_load_from_memory(image, (int) size, &width, &height, NULL, 3);
    if (pixels == NULL) {
        return fail(stbi_failure_reason());
    }
    /* The longer side as it is to be, the other in proportion; nothing is made larger. */
    if (width <= SIDE && height <= SIDE) {
        w = width;
        h = height;
    } else if (width > height) {
        h = height * SIDE / width;
    } else {
        w = width * SIDE / height;
    }
    w = w > 0 ? w : 1;
    h = h > 0 ? h : 1;
    small = malloc((size_t) w * h * 3);
    if (small == NULL || !stbir_resize_uint8(pixels, width, height, 0, small, w, h, 0, 3)) {
        return fail("no memory for the thumbnail");
    }
    return stbi_write_jpg_to_func(put, stdout, w, h, 3, small, QUALITY) ? 0 : fail("the thumbnail was not written");
}
