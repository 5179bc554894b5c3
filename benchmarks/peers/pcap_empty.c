/* libpcap's empty loop: pcap_loop over a capture with a callback that only counts.
 *
 * usage: pcap_empty CAPTURE
 *
 * Prints the number of packets. Its time is taken from outside, from start to exit.
 */

#include <pcap/pcap.h>
#include <stdio.h>

static void count(u_char *user, const struct pcap_pkthdr *header, const u_char *bytes)
{
    (void)header;
    (void)bytes;
    ++*(unsigned long long *)user;
}

int main(int argc, char **argv)
{
    char message[PCAP_ERRBUF_SIZE];
    unsigned long long packets = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: pcap_empty CAPTURE\n");
        return 2;
    }
    pcap_t *capture = pcap_open_offline(argv[1], message);
    if (capture == NULL) {
        fprintf(stderr, "pcap_empty: %s\n", message);
        return 1;
    }
    if (pcap_loop(capture, -1, count, (u_char *)&packets) != 0) {
        fprintf(stderr, "pcap_empty: %s\n", pcap_geterr(capture));
        return 1;
    }
    pcap_close(capture);
    printf("%llu\n", packets);
    return 0;
}
