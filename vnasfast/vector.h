/* Which vector instructions the hot loops may use. Each loop is compiled for all of them; the machine chooses at run time. */
#ifndef VNASFAST_VECTOR_H
#define VNASFAST_VECTOR_H

#if defined(__x86_64__) && defined(__GNUC__)
#define VNAS_HAS_AVX2 1
#else
#define VNAS_HAS_AVX2 0
#endif

enum { VNAS_VECTOR_PORTABLE = 0, VNAS_VECTOR_AVX2 = 1 };

static inline int vnas_best_vector(void)
{
#if VNAS_HAS_AVX2
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        return VNAS_VECTOR_AVX2;
#endif
    return VNAS_VECTOR_PORTABLE;
}

#endif
