/* Which kernels are compiled. */
#ifndef EDGEVIT_SIMD_H
#define EDGEVIT_SIMD_H

#if defined(__aarch64__) && defined(__ARM_NEON) && !defined(EDGEVIT_SCALAR)
#include <arm_neon.h>
#define EDGEVIT_NEON 1
#else
#define EDGEVIT_NEON 0
#endif

#endif
