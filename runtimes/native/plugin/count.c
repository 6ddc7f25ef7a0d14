/* A plugin of QEMU's user emulation that counts instructions, block by block.
 *
 *   qemu-aarch64 -plugin libedgevit_count.so,out=FILE PROGRAM
 *
 * The program marks what is measured by system calls that no kernel has: syscall(0x5eed, 1) begins,
 * syscall(0x5eed, 2) ends; several regions add up. FILE then has one line a translation block that
 * was executed in them, for one thread:
 *
 *   ADDRESS EXECUTIONS OPCODES SYMBOL     (address, opcodes in hex; symbol "-" where there is none)
 *
 * after a first line `edgevit-count 1`, and before a last line `end REGIONS INSTRUCTIONS`.
 *
 * QEMU's plugin header is not packaged by Debian. What is used of its interface (version 1, QEMU 4.2
 * to 9; docs/devel/tcg-plugins.rst) is declared here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_info; /* not looked at */
enum plugin_op { INLINE_ADD_U64 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum plugin_op, void *,
                                              uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id,
                                          void (*)(plugin_id, unsigned int, int64_t, uint64_t,
                                                   uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                   uint64_t, uint64_t));
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);

EXPORTED int qemu_plugin_version = 1;

enum { MARK = 0x5eed, BEGIN = 1, END = 2 };

typedef struct block {
  struct block *next;      /* in its bucket */
  uint64_t address;
  uint64_t executions;     /* counted by the emulator itself */
  uint64_t before, inside; /* at the last mark; within regions */
  char *symbol;
  uint32_t count;
  uint32_t opcodes[];
} block;

enum { BUCKETS = 1 << 16 };
static block *blocks[BUCKETS];
static char *output;
static uint64_t regions;
static bool within;

static void die(const char *what) {
  fprintf(stderr, "edgevit-count: %s\n", what);
  exit(70);
}

static void *claim(size_t bytes) {
  void *memory = calloc(1, bytes);
  if (!memory) die("out of memory");
  return memory;
}

/* QEMU translates a block again after it has flushed its buffer; the counter stays the same one. */
static block *block_of(const struct qemu_plugin_tb *translated) {
  uint64_t address = qemu_plugin_tb_vaddr(translated);
  size_t count = qemu_plugin_tb_n_insns(translated);
  size_t bytes = count * sizeof(uint32_t);
  uint32_t *opcodes = claim(bytes + 1);
  for (size_t i = 0; i < count; i++)
    memcpy(opcodes + i, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(translated, i)), 4);
  block **bucket = &blocks[(address >> 2) % BUCKETS];
  block *found = *bucket;
  while (found && (found->address != address || found->count != count ||
                   memcmp(found->opcodes, opcodes, bytes)))
    found = found->next;
  if (!found) {
    const char *symbol = count ? qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(translated, 0)) : 0;
    found = claim(sizeof *found + bytes);
    found->next = *bucket;
    found->address = address;
    found->count = (uint32_t)count;
    found->symbol = symbol && *symbol ? strdup(symbol) : NULL;
    memcpy(found->opcodes, opcodes, bytes);
    *bucket = found;
  }
  free(opcodes);
  return found;
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &block_of(tb)->executions, 1);
}

static void mark(bool begin) {
  if (begin == within) die(begin ? "a region begins within another" : "a region ends, none began");
  for (size_t i = 0; i < BUCKETS; i++)
    for (block *b = blocks[i]; b; b = b->next) {
      if (begin) b->before = b->executions;
      else b->inside += b->executions - b->before;
    }
  within = begin;
  regions += begin;
}

static void called(plugin_id id, unsigned int cpu, int64_t number, uint64_t which, uint64_t a2,
                   uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number == MARK && (which == BEGIN || which == END)) mark(which == BEGIN);
}

static void finish(plugin_id id, void *data) {
  (void)id, (void)data;
  FILE *file = fopen(output, "w");
  uint64_t instructions = 0;
  if (!file) die("cannot write its output");
  fputs("edgevit-count 1\n", file);
  if (within) mark(false);
  for (size_t i = 0; i < BUCKETS; i++)
    for (const block *b = blocks[i]; b; b = b->next) {
      if (!b->inside) continue;
      instructions += b->inside * b->count;
      fprintf(file, "%" PRIx64 " %" PRIu64 " ", b->address, b->inside);
      for (uint32_t k = 0; k < b->count; k++) fprintf(file, "%08" PRIx32, b->opcodes[k]);
      fprintf(file, " %s\n", b->symbol ? b->symbol : "-");
    }
  fprintf(file, "end %" PRIu64 " %" PRIu64 "\n", regions, instructions);
  if (ferror(file) | fclose(file)) die("cannot write its output");
}

EXPORTED int qemu_plugin_install(plugin_id id, const struct qemu_plugin_info *info, int argc,
                                 char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++)
    if (!strncmp(argv[i], "out=", 4)) output = strdup(argv[i] + 4);
  if (!output) {
    fprintf(stderr, "edgevit-count: out=FILE is missing\n");
    return -1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  qemu_plugin_register_atexit_cb(id, finish, NULL);
  return 0;
}
