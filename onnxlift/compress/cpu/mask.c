/* Hides features of the CPU from this process: answers CPUID as the CPU would, less the bits that ONNXLIFT_HIDDEN_CPUID
 * lists. child.py loads it before anything asks. Two kinds of CPUID reach the handler:
 * - a patched one: in a copy of a library each CPUID (0F A2) is UD0 (0F FF), which raises SIGILL. No compiler writes
 *   UD0, while UD2 marks code that must not be reached and still ends the process;
 * - a faulting one, where ONNXLIFT_CPUID_FAULTING is set: each CPUID raises SIGSEGV (arch_prctl(2), ARCH_SET_CPUID). */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define MOST_LEAVES 16

#define ANY_PART 0xFFFFFFFFu

struct leaf {
    uint32_t leaf, part, hidden[4]; /* bits of EAX, EBX, ECX, EDX */
};

static struct leaf leaves[MOST_LEAVES];
static int leaf_count, faulting;

unsigned long onnxlift_hidden_answers; /* how many answers lacked something that was to be hidden */

/* registers: EAX, EBX, ECX, EDX as the CPU gave them for this leaf and part (sub-leaf). */
void onnxlift_hide(uint32_t leaf, uint32_t part, uint32_t *registers) {
    for (int i = 0; i < leaf_count; i++) {
        if (leaves[i].leaf != leaf || (leaves[i].part != part && leaves[i].part != ANY_PART)) continue;
        for (int j = 0; j < 4; j++) registers[j] &= ~leaves[i].hidden[j];
        __atomic_add_fetch(&onnxlift_hidden_answers, 1, __ATOMIC_RELAXED);
    }
}

static void on_cpuid(int signal_number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *code = (const uint8_t *)registers[REG_RIP];
    int patched = signal_number == SIGILL && code[0] == 0x0F && code[1] == 0xFF;
    int faulted = signal_number == SIGSEGV && info->si_code == SI_KERNEL && code[0] == 0x0F && code[1] == 0xA2;
    if (!patched && !faulted) { /* a real one: let it end the process */
        signal(signal_number, SIG_DFL);
        return;
    }
    uint32_t leaf = (uint32_t)registers[REG_RAX], part = (uint32_t)registers[REG_RCX], found[4];
    if (faulting) syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
    __asm__ volatile("cpuid" : "=a"(found[0]), "=b"(found[1]), "=c"(found[2]), "=d"(found[3]) : "a"(leaf), "c"(part));
    if (faulting) syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
    onnxlift_hide(leaf, part, found);
    registers[REG_RAX] = found[0];
    registers[REG_RBX] = found[1];
    registers[REG_RCX] = found[2];
    registers[REG_RDX] = found[3];
    registers[REG_RIP] += 2;
}

/* "LEAF:PART:EAX:EBX:ECX:EDX;..." in hexadecimal */
static void read_leaves(const char *text) {
    while (text && *text && leaf_count < MOST_LEAVES) {
        struct leaf *next = &leaves[leaf_count++];
        uint32_t *fields[] = {&next->leaf, &next->part, &next->hidden[0], &next->hidden[1], &next->hidden[2], &next->hidden[3]};
        for (int i = 0; i < 6; i++) {
            char *end;
            *fields[i] = (uint32_t)strtoul(text, &end, 16);
            text = *end ? end + 1 : end;
        }
    }
}

__attribute__((constructor)) static void mask(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_cpuid;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    read_leaves(getenv("ONNXLIFT_HIDDEN_CPUID"));
    faulting = getenv("ONNXLIFT_CPUID_FAULTING") != NULL;
    sigaction(SIGILL, &action, NULL);
    if (!faulting) return;
    sigaction(SIGSEGV, &action, NULL);
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) _exit(70); /* EX_SOFTWARE: this CPU cannot fault on CPUID */
}
