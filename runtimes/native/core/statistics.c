/* Percentiles of latencies, without allocating: qsort of some C libraries does. */
#include "edgevit_core.h"

static void sift(int64_t *values, size_t root, size_t count) {
  for (;;) {
    size_t child = 2 * root + 1;
    if (child >= count) return;
    if (child + 1 < count && values[child + 1] > values[child]) child++;
    if (values[root] >= values[child]) return;
    int64_t value = values[root];
    values[root] = values[child];
    values[child] = value;
    root = child;
  }
}

static void heap_sort(int64_t *values, size_t count) {
  for (size_t root = count / 2; root-- > 0;) sift(values, root, count);
  for (size_t last = count - 1; last > 0; last--) {
    int64_t value = values[0];
    values[0] = values[last];
    values[last] = value;
    sift(values, 0, last);
  }
}

/* values in order; share from 0 to 1. */
static double percentile(const int64_t *values, size_t count, double share) {
  double place = share * (double)(count - 1);
  size_t below = (size_t)place;
  if (below + 1 >= count) return (double)values[count - 1];
  double rest = place - (double)below;
  double low = (double)values[below];
  return low + ((double)values[below + 1] - low) * rest;
}

int32_t edgevit_summarize(int64_t *nanoseconds, size_t count, edgevit_latency *latency) {
  if (!nanoseconds || !latency) return EDGEVIT_NULL;
  if (count == 0 || count > SIZE_MAX / sizeof *nanoseconds) return EDGEVIT_SIZE;
  heap_sort(nanoseconds, count);
  double sum = 0;
  for (size_t i = 0; i < count; i++) sum += (double)nanoseconds[i];
  latency->count = (int64_t)count;
  latency->mean = sum / (double)count;
  latency->least = (double)nanoseconds[0];
  latency->p10 = percentile(nanoseconds, count, 0.10);
  latency->p50 = percentile(nanoseconds, count, 0.50);
  latency->p90 = percentile(nanoseconds, count, 0.90);
  latency->p99 = percentile(nanoseconds, count, 0.99);
  latency->most = (double)nanoseconds[count - 1];
  return EDGEVIT_OK;
}
