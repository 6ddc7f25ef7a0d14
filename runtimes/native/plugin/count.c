/* A plugin of QEMU's user emulation that counts instructions, block by block.
 *
 *   qemu-aarch64 -plugin libedgevit_count.so,out=FILE[,caches=L1:L2:L3] PROGRAM
 *
 * The program marks what is measured by system calls that no kernel has: syscall(0x5eed, 1) begins,
 * syscall(0x5eed, 2) ends; several regions add up. FILE then has one line a translation block that
 * was executed in them, for one thread:
 *
 *   ADDRESS EXECUTIONS OPCODES SYMBOL     (address, opcodes in hex; symbol "-" where there is none)
 *
 * after a first line `edgevit-count 1`, and before a last line `end REGIONS INSTRUCTIONS`.
 *
 * caches: sizes in KiB. A line `caches` then comes before the last: the accesses, and for each level
 * the lines of 64 bytes that it asked for below and those that it wrote back. The model is LRU with
 * write-allocation and 4, 8 and 16 ways, without prefetching; it is warm where the program is.
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
typedef uint32_t plugin_access;
enum plugin_registers { NO_REGISTERS };
enum plugin_direction { LOADS = 1, STORES, BOTH };
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *,
                                      void (*)(unsigned int, plugin_access, uint64_t, void *),
                                      enum plugin_registers, enum plugin_direction, void *);
unsigned int qemu_plugin_mem_size_shift(plugin_access);
bool qemu_plugin_mem_is_store(plugin_access);

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

enum { LEVELS = 3, LINE_BITS = 6, DIRTY = 1 };
static const uint32_t WAYS[LEVELS] = {4, 8, 16};

typedef struct {
  uint64_t *lines; /* [sets][ways], the last used first: (line + 1) << 1 | DIRTY; 0: empty */
  uint64_t sets;
  uint64_t asked, written; /* below, within regions */
} cache;
static cache caches[LEVELS];
static uint64_t accesses;
static bool modelled;

static void touch(int level, uint64_t line, bool dirty) {
  if (level == LEVELS) return;
  cache *here = &caches[level];
  uint64_t *set = here->lines + line % here->sets * WAYS[level], wanted = (line + 1) << 1;
  uint32_t ways = WAYS[level], way = 0;
  while (way < ways && (set[way] & ~(uint64_t)DIRTY) != wanted) way++;
  uint64_t entry = wanted | dirty;
  if (way < ways) {
    entry |= set[way] & DIRTY;
  } else {
    way = ways - 1;
    uint64_t victim = set[way];
    if (within) here->asked++;
    if (victim & DIRTY) {
      if (within) here->written++;
      touch(level + 1, (victim >> 1) - 1, true);
    }
    touch(level + 1, line, false);
  }
  memmove(set + 1, set, way * sizeof *set);
  set[0] = entry;
}

static void accessed(unsigned int cpu, plugin_access access, uint64_t address, void *data) {
  (void)cpu, (void)data;
  uint64_t first = address >> LINE_BITS;
  uint64_t last = (address + (UINT64_C(1) << qemu_plugin_mem_size_shift(access)) - 1) >> LINE_BITS;
  bool store = qemu_plugin_mem_is_store(access);
  if (within) accesses++;
  for (uint64_t line = first; line <= last; line++) touch(0, line, store);
}

static bool model_caches(const char *sizes) {
  unsigned long kib[LEVELS];
  if (sscanf(sizes, "%lu:%lu:%lu", &kib[0], &kib[1], &kib[2]) != LEVELS) return false;
  for (int i = 0; i < LEVELS; i++) {
    caches[i].sets = (uint64_t)kib[i] * 1024 / 64 / WAYS[i];
    if (!caches[i].sets || kib[i] > 1 << 20) return false;
    caches[i].lines = claim(caches[i].sets * WAYS[i] * sizeof(uint64_t));
  }
  return modelled = true;
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
  for (size_t i = 0; modelled && i < qemu_plugin_tb_n_insns(tb); i++)
    qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), accessed, NO_REGISTERS, BOTH,
                                     NULL);
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
  if (modelled) {
    fprintf(file, "caches %" PRIu64, accesses);
    for (int i = 0; i < LEVELS; i++)
      fprintf(file, " %" PRIu64 " %" PRIu64, caches[i].asked, caches[i].written);
    fputc('\n', file);
  }
  fprintf(file, "end %" PRIu64 " %" PRIu64 "\n", regions, instructions);
  if (ferror(file) | fclose(file)) die("cannot write its output");
}

EXPORTED int qemu_plugin_install(plugin_id id, const struct qemu_plugin_info *info, int argc,
                                 char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++)
    if (!strncmp(argv[i], "out=", 4)) output = strdup(argv[i] + 4);
    else if (strncmp(argv[i], "caches=", 7) || !model_caches(argv[i] + 7)) {
      fprintf(stderr, "edgevit-count: does not know %s\n", argv[i]);
      return -1;
    }
  if (!output) {
    fprintf(stderr, "edgevit-count: out=FILE is missing\n");
    return -1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  qemu_plugin_register_atexit_cb(id, finish, NULL);
  return 0;
}
