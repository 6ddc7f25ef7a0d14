/* The caller's memory, given out in aligned pieces. With base NULL only their sum is counted, so one
 * function both measures and lays out.
 */
#ifndef EDGEVIT_ARENA_H
#define EDGEVIT_ARENA_H

#include <stddef.h>
#include <stdint.h>

#define EDGEVIT_ALIGNMENT 16u

typedef struct {
  uint8_t *base;
  size_t used;
} edgevit_arena;

/* All sizes are bounded before: no sum of them overflows 64 bits, and one that overflows size_t
 * (32-bit machines) was refused by edgevit_fits.
 */
static inline void *edgevit_take(edgevit_arena *arena, size_t count, size_t each) {
  void *piece = arena->base ? arena->base + arena->used : NULL;
  arena->used += (count * each + EDGEVIT_ALIGNMENT - 1) / EDGEVIT_ALIGNMENT * EDGEVIT_ALIGNMENT;
  return piece;
}

static inline int edgevit_aligned(const void *memory) {
  return (uintptr_t)memory % EDGEVIT_ALIGNMENT == 0;
}

#endif
