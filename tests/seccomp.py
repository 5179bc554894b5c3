"""A process whose kernel lacks something: a seccomp filter answers system calls with an errno."""

import ctypes
import struct
import subprocess
import sys
from pathlib import Path

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
SOCKET, PIDFD_OPEN, PIDFD_GETFD = 41, 434, 438  # x86-64
AF_NETLINK = 16


def deny(number, errno, first=None):
    """Answer a system call with an errno, from now on; only with this first argument, if it is given."""
    program = [(LOAD, 0, 0, NUMBER), (EQUAL, 0, 1 if first is None else 3, number)]
    if first is not None:
        program += [(LOAD, 0, 0, FIRST_ARGUMENT), (EQUAL, 0, 1, first)]
    program += [(RETURN, 0, 0, ERRNO | errno), (RETURN, 0, 0, ALLOW)]
    code = b"".join(struct.pack("=HBBI", *step) for step in program)
    room = ctypes.create_string_buffer(code)
    filters = struct.pack("HxxxxxxP", len(program), ctypes.addressof(room))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filters):
        raise OSError(ctypes.get_errno(), "seccomp")


def run_without(number, errno, *arguments, first=None):
    """Run ``vnasfast`` where a system call fails; exit code, output, errors."""
    code = (
        f"import sys; sys.path.append({str(Path(__file__).parent)!r}); from seccomp import deny;"
        f"deny({number}, {int(errno)}, {first!r}); sys.argv[1:] = {list(map(str, arguments))!r};"
        "from vnasfast.__main__ import main; main()"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    return made.returncode, made.stdout, made.stderr
