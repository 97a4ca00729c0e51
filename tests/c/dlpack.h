/* The structs of DLPack, written from its specification for the tests: the library's header does not declare them. */
#ifndef TIEBREAK_TEST_DLPACK_H
#define TIEBREAK_TEST_DLPACK_H

#include <stdint.h>

typedef struct dl_tensor {
    void *data;
    int32_t device_type, device_id; /* 1, 0: the CPU */
    int32_t ndim;
    uint8_t code, bits; /* 2: float */
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
} dl_tensor;

/* DLManagedTensor */
typedef struct dl_legacy {
    dl_tensor tensor;
    void *manager_ctx;
    void (*deleter)(struct dl_legacy *);
} dl_legacy;

/* DLManagedTensorVersioned */
typedef struct dl_versioned {
    uint32_t major, minor;
    void *manager_ctx;
    void (*deleter)(struct dl_versioned *);
    uint64_t flags; /* 1: read-only */
    dl_tensor tensor;
} dl_versioned;

#endif
