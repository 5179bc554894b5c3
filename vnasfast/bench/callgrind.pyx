"""What a program asks of callgrind while it runs under it: count from here to there, then write down what was counted.

So the start of the interpreter and the making of tables run at a fifth of full speed instead of a fiftieth, and are in no count.

Attributes
----------
compiler : str
    The version of the compiler that compiled the package.
"""

cdef extern from *:
    """
    #include <stdint.h>
    /* A client request, as valgrind.h defines it for x86-64: rotations by 128 bits in all, which change nothing, and an exchange of
       a register with itself. Only valgrind sees a question in it; without valgrind the answer stays 0. */
    static uint64_t vnas_client_request(uint64_t number, const char *text) {
        uint64_t answer = 0;
    #ifdef __x86_64__
        volatile uint64_t question[6] = {number, (uint64_t)(uintptr_t)text, 0, 0, 0, 0};
        __asm__ volatile("rolq $3, %%rdi\\n\\trolq $13, %%rdi\\n\\trolq $61, %%rdi\\n\\trolq $51, %%rdi\\n\\txchgq %%rbx, %%rbx"
                         : "=d"(answer) : "a"(question), "0"(answer) : "cc", "memory");
    #else
        (void)number, (void)text;
    #endif
        return answer;
    }
    """
    const char* COMPILER "__VERSION__"
    unsigned long long client_request "vnas_client_request"(unsigned long long number, const char* text) noexcept

compiler = COMPILER.decode()

cdef enum:
    RUNNING_ON_VALGRIND = 0x1001
    DUMP_STATS_AT = 0x43540003          # 'C', 'T': callgrind's own
    START_INSTRUMENTATION = 0x43540004
    STOP_INSTRUMENTATION = 0x43540005


def running() -> bool:
    """Tell whether the process runs under valgrind, on a processor for which this module can talk to it."""
    return client_request(RUNNING_ON_VALGRIND, NULL) != 0


def start() -> None:
    """Count from here on; needs ``--instr-atstart=no``."""
    client_request(START_INSTRUMENTATION, NULL)


def stop(str name not None) -> None:
    """Stop counting, write what was counted to a file of its own that says `name`, and forget it."""
    cdef bytes text = name.encode()
    client_request(STOP_INSTRUMENTATION, NULL)
    client_request(DUMP_STATS_AT, text)
