/* Reading the keys only: what an array of parsed keys costs by itself, before any table is looked at.
 *
 * usage: read_keys KEY_BYTES PACKETS PASSES
 *
 * Adds up the words of each key of 16 or 48 bytes and writes 4 bytes a key, as dispatching does. Prints nanoseconds per
 * packet by the clock on the wall and by the processor's.
 */

#define _GNU_SOURCE
#include "timing.h"

typedef struct {
    const uint64_t *keys;
    int32_t *answers;
    size_t words;
} Reading;

static void read_keys(void *context, size_t start, size_t end)
{
    const Reading *reading = context;
    if (reading->words == 2) {
        for (size_t i = start; i < end; i++)
            reading->answers[i] = (int32_t)(reading->keys[2 * i] + reading->keys[2 * i + 1]);
        return;
    }
    for (size_t i = start; i < end; i++) {
        uint64_t sum = 0;
        for (size_t word = 0; word < 6; word++)
            sum += reading->keys[6 * i + word];
        reading->answers[i] = (int32_t)sum;
    }
}

int main(int argc, char **argv)
{
    size_t words = argc == 4 ? strtoull(argv[1], NULL, 10) / 8 : 0;
    size_t n = argc == 4 ? strtoull(argv[2], NULL, 10) : 0, passes = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    if ((words != 2 && words != 6) || n == 0 || passes == 0) {
        fprintf(stderr, "usage: read_keys 16|48 PACKETS PASSES\n");
        return 2;
    }
    Reading reading = {pages(n * words * 8), pages(n * 4), words};
    Sample sample = measure(read_keys, &reading, n, passes);
    printf("%.4f %.4f\n", sample.wall, sample.cpu);
    return 0;
}
