/* Inputs and frames of any numbers: refused, or made within their buffers. */
#include "bytes.h"
#include "edgevit_core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_bytes bytes = {data, size};
  edgevit_input input = {0};
  int32_t *numbers[] = {&input.width, &input.height, &input.resized_width, &input.resized_height,
                        &input.left, &input.top};
  for (size_t i = 0; i < 6; i++) *numbers[i] = fuzz_number(&bytes, 70);
  static const int32_t TURNS[] = {0, 90, 180, 270, 45};
  uint8_t turn;
  fuzz_read(&bytes, &turn, 1);
  input.rotation = TURNS[turn % 5];
  input.mirror = fuzz_number(&bytes, 1);
  input.layout = fuzz_number(&bytes, 1);
  input.type = fuzz_number(&bytes, 3);
  uint8_t plain;
  fuzz_read(&bytes, &plain, 1);
  for (int i = 0; i < 3; i++) {
    input.mean[i] = 128;
    input.std[i] = 58;
    if (plain < 16) {
      fuzz_read(&bytes, &input.mean[i], sizeof(double));
      fuzz_read(&bytes, &input.std[i], sizeof(double));
    }
  }
  input.scale = 0.02;
  if (plain < 8) fuzz_read(&bytes, &input.scale, sizeof(double));
  input.zero_point = fuzz_number(&bytes, 127);

  edgevit_frame frame = {fuzz_number(&bytes, 1), fuzz_number(&bytes, 70), fuzz_number(&bytes, 70),
                         {{0}}};
  uint8_t *planes[3];
  for (int i = 0; i < 3; i++) {
    uint16_t room;
    fuzz_read(&bytes, &room, sizeof room);
    frame.planes[i].row_stride = fuzz_number(&bytes, 255);
    frame.planes[i].pixel_stride = fuzz_number(&bytes, 4);
    frame.planes[i].size = room;
    planes[i] = fuzz_buffer(&bytes, room);
    frame.planes[i].data = planes[i];
  }
  size_t memory_bytes, output_bytes;
  if (!edgevit_plan_memory(&input, &frame, &memory_bytes) &&
      !edgevit_input_bytes(&input, &output_bytes) && output_bytes < 1u << 22 &&
      memory_bytes < 1u << 22) {
    void *memory = fuzz_buffer(&bytes, memory_bytes), *output = fuzz_buffer(&bytes, output_bytes);
    edgevit_plan *plan;
    if (edgevit_plan_input(&input, &frame, memory, memory_bytes, &plan)) abort();
    if (edgevit_fill_input(plan, &frame, output, output_bytes)) abort();
    frame.planes[1].size = frame.planes[1].size / 2; /* a frame that is cut off later */
    edgevit_fill_input(plan, &frame, output, output_bytes);
    free(memory);
    free(output);
  }
  for (int i = 0; i < 3; i++) free(planes[i]);
  return 0;
}
