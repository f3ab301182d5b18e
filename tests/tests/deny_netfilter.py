"""Runs a program as on a kernel without nftables: sockets of the netfilter family are refused.

The filter is classic BPF for seccomp(2), x86_64 and arm64: socket(AF_NETLINK, *, NETLINK_NETFILTER) gives
EPROTONOSUPPORT, as the kernel itself does where the family is not built in.
"""
import ctypes
import os
import platform
import struct
import sys

SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]
AF_NETLINK, NETLINK_NETFILTER, EPROTONOSUPPORT = 16, 12, 93
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
program = [
    (LOAD, 0, 0, 0),
    (EQUAL, 0, 5, SOCKET),
    (LOAD, 0, 0, 16),
    (EQUAL, 0, 3, AF_NETLINK),
    (LOAD, 0, 0, 32),
    (EQUAL, 0, 1, NETLINK_NETFILTER),
    (RETURN, 0, 0, ERRNO | EPROTONOSUPPORT),
    (RETURN, 0, 0, ALLOW),
]
code = b"".join(struct.pack("HBBI", *one) for one in program)
buffer = ctypes.create_string_buffer(code)
filter_program = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_program, 0, 0) != 0:
    print("seccomp:", os.strerror(ctypes.get_errno()), file=sys.stderr)
    sys.exit(99)
os.execv(sys.argv[1], sys.argv[1:])
