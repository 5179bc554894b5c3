/* The protocols with ports: TCP, UDP, DCCP, SCTP, UDP-Lite. One load instead of five compares, and no branch, since traffic mixes them. */
#ifndef VNASFAST_PARSE_PROTOCOLS_H
#define VNASFAST_PARSE_PROTOCOLS_H

static const unsigned char vnas_has_ports[256] = {[6] = 1, [17] = 1, [33] = 1, [132] = 1, [136] = 1};

#endif
