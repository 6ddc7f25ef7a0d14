/* What main.c needs of a runtime. Each program is linked with one file that implements it. */
#ifndef EDGEVIT_ENGINE_H
#define EDGEVIT_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  ENGINE_MOST_PORTS = 32,
  ENGINE_MOST_RANK = 8,
  ENGINE_NAME_BYTES = 128,
  ENGINE_MOST_SETTINGS = 8,
  ENGINE_SETTING_BYTES = 256
};

typedef struct {
  char name[ENGINE_NAME_BYTES];
  const char *dtype; /* as numpy names it */
  int rank;
  int64_t sizes[ENGINE_MOST_RANK];
  size_t bytes;
  void *data; /* inputs: filled by main.c before a run; outputs: valid after it */
} engine_port;

typedef struct {
  int input_count, output_count;
  engine_port inputs[ENGINE_MOST_PORTS], outputs[ENGINE_MOST_PORTS];
} engine_ports;

typedef struct {
  int threads, count;
  char names[ENGINE_MOST_SETTINGS][ENGINE_SETTING_BYTES]; /* the runtime's own settings */
  char values[ENGINE_MOST_SETTINGS][ENGINE_SETTING_BYTES];
  const char *profile; /* where operations are to be timed into; NULL: not at all */
} engine_settings;

extern const char *const engine_name;

/* The runtime's version, or what it is of the library. Valid until the process ends. */
const char *engine_version(void);

/* Load a file and describe its ports. library: the runtime's own, to be loaded now; NULL where the
 * program is linked to it. Returns NULL, or a sentence on why it failed.
 */
const char *engine_open(const char *library, const char *file, const engine_settings *settings,
                        engine_ports *ports);

/* Run once, from the data of the inputs to those of the outputs; NULL, or why it failed. */
const char *engine_run(void);

/* After the runs: write the profile that was asked for; NULL, or why it cannot be. */
const char *engine_profile(const char *path);

/* Helpers of main.c: bytes of one element (0 for a type that is none), and a kept message. */
size_t engine_element_bytes(const char *dtype);
const char *engine_message(const char *what, const char *detail);
/* For a runtime without settings and profile: NULL where neither is asked for, or why it fails. */
const char *engine_plain(const engine_settings *settings);
/* Fill in bytes and data (allocated, aligned to 64 bytes) of a port; NULL, or why it cannot be. */
const char *engine_allocate(engine_port *port);

#ifdef __cplusplus
}
#endif
#endif
