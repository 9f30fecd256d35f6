/* Classifies the first test images on a machine without an operating system and says what it sees through the serial port
   of qemu's machine "virt". Nothing but the compiled model is linked. */
#include "digits.h"

#define IMAGES 9
#define PIXELS digits_in_image_ELEMENTS
#define DIGITS digits_out_probabilities_ELEMENTS

extern const unsigned char images[], labels[];

MAQUETTE_ALIGN(digits_ARENA_ALIGN) static unsigned char arena[digits_ARENA_BYTES];
static float image[PIXELS], probabilities[DIGITS];

static void say(const char *text)
{
    volatile uint32_t *serial = (volatile uint32_t *)0x09000000;
    while (*text)
        *serial = (unsigned char)*text++;
}

int main(void)
{
    char line[] = "image 0: 0, is 0\n", end[] = "0 of 9 wrong\n";
    for (int n = 0; n < IMAGES; n++) {
        int best = 0;
        for (int i = 0; i < PIXELS; i++)
            image[i] = (float)images[n * PIXELS + i];
        int32_t status = digits_run(image, probabilities, arena);
        if (status != MAQUETTE_OK) {
            say(maquette_status_text(status));
            say("\n");
            return 1;
        }
        for (int i = 1; i < DIGITS; i++)
            if (probabilities[i] > probabilities[best])
                best = i;
        line[6] = (char)('0' + n);
        line[9] = (char)('0' + best);
        line[15] = (char)('0' + labels[n]);
        say(line);
        end[0] = (char)(end[0] + (best != labels[n]));
    }
    say(end);
    return 0;
}
