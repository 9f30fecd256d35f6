/* Classifies the committed test images with the compiled model, through the generated header: no runtime, no allocation.
   usage: classify FOLDER, where test.images.u8, test.labels.u8 and expected.txt lie. Exit 1 when fewer than 98 % are right
   or an answer differs from onnxruntime's; 2 when the files or the model cannot be used. */
#include "digits.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PIXELS digits_in_image_ELEMENTS
#define DIGITS digits_out_probabilities_ELEMENTS

MAQUETTE_ALIGN(digits_ARENA_ALIGN) static unsigned char arena[digits_ARENA_BYTES];

static FILE *open_in(const char *folder, const char *name, const char *mode)
{
    char path[4096];
    FILE *file = NULL;
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (length > 0 && (size_t)length < sizeof path)
        file = fopen(path, mode);
    if (!file) {
        fprintf(stderr, "%s/%s: cannot be opened\n", folder, name);
        exit(2);
    }
    return file;
}

/* The likeliest digit of one image; adds the processor time that the model took to `ticks`. */
static int classify(const unsigned char *pixels, uint64_t cpu, clock_t *ticks)
{
    float image[PIXELS], probabilities[DIGITS];
    int i, best = 0;
    clock_t start;
    int32_t status;
    for (i = 0; i < PIXELS; i++)
        image[i] = (float)pixels[i];
    start = clock();
    status = digits_run_on(image, probabilities, arena, cpu);
    *ticks += clock() - start;
    if (status != MAQUETTE_OK) {
        fprintf(stderr, "digits: status %d: %s\n", (int)status, maquette_status_text(status));
        exit(2);
    }
    for (i = 1; i < DIGITS; i++)
        if (probabilities[i] > probabilities[best])
            best = i;
    return best;
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : ".";
    FILE *images = open_in(folder, "test.images.u8", "rb");
    FILE *labels = open_in(folder, "test.labels.u8", "rb");
    FILE *expected = open_in(folder, "expected.txt", "r");
    uint64_t cpu = digits_model.cpu();
    unsigned char pixels[PIXELS];
    clock_t ticks = 0;
    int count = 0, right = 0, different = 0;

    while (fread(pixels, 1, PIXELS, images) == PIXELS) {
        int label = fgetc(labels), said, wanted;
        if (label == EOF || fscanf(expected, "%d", &wanted) != 1) {
            fprintf(stderr, "%s: image %d has no label or no expected answer\n", folder, count);
            return 2;
        }
        said = classify(pixels, cpu, &ticks);
        if (said != wanted) {
            fprintf(stderr, "image %d: said %d, onnxruntime says %d\n", count, said, wanted);
            different++;
        }
        right += said == label;
        count++;
    }
    fclose(images);
    fclose(labels);
    fclose(expected);
    if (count == 0) {
        fprintf(stderr, "%s/test.images.u8: no image\n", folder);
        return 2;
    }
    printf("%d of %d right (%.1f %%), %d unlike onnxruntime, %.1f us an image\n", right, count, 100.0 * right / count,
           different, 1e6 * (double)ticks / CLOCKS_PER_SEC / count);
    return right * 100 < count * 98 || different > 0;
}
