/* The tables of vnasfast, enforced by the kernel. Each program is small; together they make a VNAS:
 *
 *   members.bpf.h   which VNAS a socket belongs to        cgroup/sock_create
 *   bind.bpf.h      identical ANY binds coexist           cgroup/bind4,6  getsockname4,6  getpeername4,6
 *   enter.bpf.h     who waits where                       sockops  tc (ingress)  iter/task_file  iter/udp
 *   dispatch.bpf.h  from a packet to a socket             sk_lookup
 *   send.bpf.h      source addresses, loopback            cgroup/connect4,6  sendmsg4,6  recvmsg4,6  cgroup_skb/egress
 */
#include "dispatch.bpf.h"
#include "enter.bpf.h"
#include "send.bpf.h"

/* Helpers that read the kernel's structures are for programs with a licence compatible with the GPL; Apache-2.0 code may be
 * distributed under GPL 3, and this object is offered under either. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
