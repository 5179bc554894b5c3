# Threads that do a thing one after the other, each when its number comes up. No GIL is needed.

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #include "vnasfast/tables/locks.h"

    typedef struct {
        pthread_mutex_t lock;
        pthread_cond_t passed;
        uint64_t now;               /* whose turn it is; changed under the lock, read without it */
    } vnas_turn;

    static inline void vnas_turn_init(vnas_turn *turn) {
        pthread_mutex_init(&turn->lock, NULL);
        pthread_cond_init(&turn->passed, NULL);
        turn->now = 0;
    }

    static inline void vnas_turn_destroy(vnas_turn *turn) {
        pthread_mutex_destroy(&turn->lock);
        pthread_cond_destroy(&turn->passed);
    }

    static inline uint64_t vnas_turn_now(const vnas_turn *turn) {
        return __atomic_load_n(&turn->now, __ATOMIC_ACQUIRE);
    }

    /* Looks a few times before it sleeps: a window takes some ten microseconds, as long as waking up. */
    static inline void vnas_turn_wait(vnas_turn *turn, uint64_t mine) {
        for (int look = 0; look < 500; look++) {
            if (vnas_turn_now(turn) == mine)
                return;
            VNAS_PAUSE();
        }
        pthread_mutex_lock(&turn->lock);
        while (turn->now != mine)
            pthread_cond_wait(&turn->passed, &turn->lock);
        pthread_mutex_unlock(&turn->lock);
    }

    static inline void vnas_turn_set(vnas_turn *turn, uint64_t next) {
        pthread_mutex_lock(&turn->lock);
        __atomic_store_n(&turn->now, next, __ATOMIC_RELEASE);
        pthread_cond_broadcast(&turn->passed);
        pthread_mutex_unlock(&turn->lock);
    }

    static inline void vnas_turn_add(vnas_turn *turn) {
        pthread_mutex_lock(&turn->lock);
        __atomic_store_n(&turn->now, turn->now + 1, __ATOMIC_RELEASE);
        pthread_cond_broadcast(&turn->passed);
        pthread_mutex_unlock(&turn->lock);
    }

    static inline uint64_t vnas_take_number(uint64_t *next) {
        return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
    }

    static inline int vnas_flag_get(const int *flag) {
        return __atomic_load_n(flag, __ATOMIC_RELAXED);
    }

    static inline void vnas_flag_set(int *flag) {
        __atomic_store_n(flag, 1, __ATOMIC_RELAXED);
    }
    """
    ctypedef struct Turn "vnas_turn":
        pass
    void turn_init "vnas_turn_init"(Turn* turn) noexcept nogil
    void turn_destroy "vnas_turn_destroy"(Turn* turn) noexcept nogil
    uint64_t turn_now "vnas_turn_now"(const Turn* turn) noexcept nogil
    void turn_wait "vnas_turn_wait"(Turn* turn, uint64_t mine) noexcept nogil
    # Passes the turn to number `next`; only by whose turn it is, or while nobody waits.
    void turn_set "vnas_turn_set"(Turn* turn, uint64_t next) noexcept nogil
    # Adds one: a count that another thread waits for.
    void turn_add "vnas_turn_add"(Turn* turn) noexcept nogil
    uint64_t take_number "vnas_take_number"(uint64_t* next) noexcept nogil
    bint flag_get "vnas_flag_get"(const int* flag) noexcept nogil
    void flag_set "vnas_flag_set"(int* flag) noexcept nogil
