/* Numbers out of a fuzzer's bytes, and buffers of exactly the size asked for. */
#ifndef EDGEVIT_FUZZ_BYTES_H
#define EDGEVIT_FUZZ_BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  const uint8_t *data;
  size_t left;
} fuzz_bytes;

static inline void fuzz_read(fuzz_bytes *bytes, void *value, size_t size) {
  memset(value, 0, size);
  if (size > bytes->left) size = bytes->left;
  if (size) memcpy(value, bytes->data, size);
  bytes->data += size;
  bytes->left -= size;
}

/* Mostly a small number, at times any. */
static inline int32_t fuzz_number(fuzz_bytes *bytes, int32_t most) {
  uint8_t kind, small;
  int32_t any;
  fuzz_read(bytes, &kind, 1);
  if (kind >= 8) {
    fuzz_read(bytes, &small, 1);
    return small % (most + 1);
  }
  fuzz_read(bytes, &any, sizeof any);
  return any;
}

/* What is left of the bytes, repeated. */
static inline void *fuzz_buffer(const fuzz_bytes *bytes, size_t size) {
  void *memory = NULL;
  if (posix_memalign(&memory, 16, size ? size : 1)) abort();
  for (size_t i = 0; i < size; i++)
    ((uint8_t *)memory)[i] = bytes->left ? bytes->data[i % bytes->left] : (uint8_t)i;
  return memory;
}

#endif
