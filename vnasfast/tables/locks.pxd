# The locks of the tables, which are held for a microsecond: locks.h.

cdef extern from "vnasfast/tables/locks.h" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* lock, const void* attributes) noexcept
    int pthread_mutex_destroy(pthread_mutex_t* lock) noexcept
    void mutex_lock "vnas_mutex_lock"(pthread_mutex_t* lock) noexcept
    int pthread_mutex_unlock(pthread_mutex_t* lock) noexcept

    ctypedef struct pthread_rwlock_t:
        pass
    void rwlock_init "vnas_rwlock_init"(pthread_rwlock_t* lock) noexcept
    int pthread_rwlock_destroy(pthread_rwlock_t* lock) noexcept
    void rwlock_rdlock "vnas_rwlock_rdlock"(pthread_rwlock_t* lock) noexcept
    void rwlock_wrlock "vnas_rwlock_wrlock"(pthread_rwlock_t* lock) noexcept
    int pthread_rwlock_unlock(pthread_rwlock_t* lock) noexcept
