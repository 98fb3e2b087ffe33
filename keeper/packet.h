/* One packet of a unix socket (unix(7), SOCK_SEQPACKET), with the descriptors that travel beside it (SCM_RIGHTS). */
#ifndef ORLOP_KEEPER_PACKET_H
#define ORLOP_KEEPER_PACKET_H

#include <stdbool.h>
#include <stddef.h>

/* A kind and a name: of Kubernetes' names two and a separator have 507 bytes at most. */
#define PACKET_BYTES_MAX 1024
/* SCM_MAX_FD (include/net/scm.h): the kernel takes no more in one message. */
#define PACKET_FDS_MAX 253

struct packet {
  char bytes[PACKET_BYTES_MAX];
  size_t length;
  int fds[PACKET_FDS_MAX];
  size_t fd_count;
};

enum received { RECEIVED, LATER, ENDED, TOO_LONG, INCOMPLETE };

/* What has arrived; its descriptors (close-on-exec) are the caller's. INCOMPLETE: not all of them could be opened, and none is. */
enum received receive_packet(int socket, struct packet *packet);

/* False when the other end is gone, or does not read. */
bool send_packet(int socket, const struct packet *packet);

void close_all(const int *fds, size_t count);

#endif
