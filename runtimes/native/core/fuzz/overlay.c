/* Masks, palettes and pictures of any sizes: refused, or drawn within their buffers. */
#include "bytes.h"
#include "edgevit_core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_bytes bytes = {data, size};
  int32_t width = fuzz_number(&bytes, 70), height = fuzz_number(&bytes, 70);
  int32_t label_bytes = fuzz_number(&bytes, 2), classes = fuzz_number(&bytes, 255);
  uint8_t how;
  fuzz_read(&bytes, &how, 1);
  if (classes > 4096) classes = 4096;
  size_t pixels = width > 0 && height > 0 && width < 256 && height < 256
                      ? (size_t)width * (size_t)height
                      : 0;
  size_t mask_bytes = pixels * (label_bytes == 2 ? 2 : 1) - (pixels && how % 16 == 0);
  size_t picture_bytes = 4 * pixels - (pixels && how % 16 == 1);
  size_t output_bytes = 4 * pixels - (pixels && how % 16 == 2);
  uint8_t *mask = fuzz_buffer(&bytes, mask_bytes);
  uint8_t *palette = fuzz_buffer(&bytes, classes > 0 ? 4 * (size_t)classes : 0);
  uint8_t *picture = fuzz_buffer(&bytes, picture_bytes);
  uint8_t *output = fuzz_buffer(&bytes, output_bytes);
  if (how & 32) /* labels that there are */
    for (size_t i = 0; i < mask_bytes && classes > 0 && label_bytes == 1; i++)
      mask[i] = (uint8_t)(mask[i] % classes);
  edgevit_overlay(mask, mask_bytes, label_bytes, width, height, palette, classes,
                  how & 64 ? picture : NULL, picture_bytes, output, output_bytes);
  int64_t *samples = fuzz_buffer(&bytes, bytes.left / 8 * 8);
  edgevit_latency latency;
  edgevit_summarize(samples, bytes.left / 8, &latency);
  for (size_t i = 1; i < bytes.left / 8; i++)
    if (samples[i - 1] > samples[i]) abort();
  free(samples);
  free(mask);
  free(palette);
  free(picture);
  free(output);
  return 0;
}
