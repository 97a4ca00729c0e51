/*
 * Reads MNIST from its four IDX files. Plain files always; with -DTIEBREAK_ZLIB (and -lz) .gz files as well.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef MNIST_H
#define MNIST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef TIEBREAK_ZLIB
#include <zlib.h>
typedef gzFile mnist_file;
#define mnist_open(path) gzopen(path, "rb") /* reads plain files too */
#define mnist_close gzclose
static size_t mnist_read(mnist_file file, unsigned char *bytes, size_t count) {
    int got = gzread(file, bytes, (unsigned)count);
    return got < 0 ? 0 : (size_t)got;
}
#else
typedef FILE *mnist_file;
#define mnist_open(path) fopen(path, "rb")
#define mnist_close fclose
static size_t mnist_read(mnist_file file, unsigned char *bytes, size_t count) {
    return fread(bytes, 1, count, file);
}
#endif

enum { MNIST_SIDE = 28, MNIST_PIXELS = MNIST_SIDE * MNIST_SIDE, MNIST_CLASSES = 10 };

/* Images of MNIST_PIXELS bytes each, row by row, and their labels 0 to 9. */
typedef struct mnist_set {
    size_t count;
    unsigned char *images;
    unsigned char *labels;
} mnist_set;

static void mnist_free(mnist_set *set) {
    free(set->images);
    free(set->labels);
    memset(set, 0, sizeof *set);
}

static mnist_file mnist_find(const char *directory, const char *name, char *path, size_t size) {
    mnist_file file;
    snprintf(path, size, "%s/%s", directory, name);
    file = mnist_open(path);
#ifdef TIEBREAK_ZLIB
    if (!file) {
        snprintf(path, size, "%s/%s.gz", directory, name);
        file = mnist_open(path);
    }
    if (!file) fprintf(stderr, "%s/%s: neither this file nor its .gz can be opened\n", directory, name);
#else
    if (!file) {
        fprintf(stderr, "%s: cannot be opened. This program was built without zlib: for files that end in\n", path);
        fprintf(stderr, ".gz run `gunzip -k %s/*.gz`, or build it with -DTIEBREAK_ZLIB and -lz.\n", directory);
    }
#endif
    return file;
}

/* Reads a file of `count` (0: as the file says) items of `rank - 1` dimensions of 28. NULL, and a message on
 * stderr, where it cannot be read. */
static unsigned char *mnist_idx(const char *directory, const char *name, unsigned rank, size_t *count) {
    /* The training images, 60000 of them, are the largest file; more is a damaged header. */
    const size_t most = 1000000, item = rank == 3 ? MNIST_PIXELS : 1;
    unsigned char header[16], extra, *bytes = NULL;
    const char *problem = NULL;
    char path[4096];
    size_t header_size = 4 + 4 * (size_t)rank, dimensions[3] = {0, MNIST_SIDE, MNIST_SIDE}, i;
    mnist_file file = mnist_find(directory, name, path, sizeof path);
    if (!file) return NULL;
    if (mnist_read(file, header, header_size) != header_size) {
        problem = "ends within its header";
    } else if (header[0] || header[1] || header[2] != 8 || header[3] != rank) {
        problem = "is no IDX file of bytes of the expected rank";
    } else {
        for (i = 0; i < rank; i++) {
            const unsigned char *b = header + 4 + 4 * i;
            size_t d = (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
            if (i > 0 && d != dimensions[i]) problem = "does not hold images of 28 x 28";
            dimensions[i] = d;
        }
        if (!problem && (dimensions[0] == 0 || dimensions[0] > most)) problem = "states an implausible count";
        if (!problem && *count && dimensions[0] != *count) problem = "holds another number of labels than images";
    }
    if (!problem) {
        size_t size = dimensions[0] * item;
        bytes = malloc(size);
        if (!bytes) problem = "does not fit in memory";
        else if (mnist_read(file, bytes, size) != size) problem = "is cut short or damaged";
        else if (mnist_read(file, &extra, 1) != 0) problem = "is longer than its header says";
        *count = dimensions[0];
    }
    mnist_close(file);
    if (problem) {
        fprintf(stderr, "%s: %s\n", path, problem);
        free(bytes);
        return NULL;
    }
    return bytes;
}

/* Reads `part` ("train" or "t10k") from `directory`. 0 and a message on stderr where that fails. */
static int mnist_load(const char *directory, const char *part, mnist_set *set) {
    char name[64];
    size_t i;
    memset(set, 0, sizeof *set);
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", part);
    set->images = mnist_idx(directory, name, 3, &set->count);
    if (set->images) {
        snprintf(name, sizeof name, "%s-labels-idx1-ubyte", part);
        set->labels = mnist_idx(directory, name, 1, &set->count);
    }
    for (i = 0; set->labels && i < set->count; i++) {
        if (set->labels[i] >= MNIST_CLASSES) {
            fprintf(stderr, "%s/%s: label %u of image %zu is no digit\n", directory, name, set->labels[i], i);
            mnist_free(set);
        }
    }
    if (set->labels) return 1;
    mnist_free(set);
    return 0;
}

#endif
