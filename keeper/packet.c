#include "packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for them, aligned as the kernel has it. */
union control {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int) * PACKET_FDS_MAX)];
};

void close_all(const int *fds, size_t count)
{
  for (size_t i = 0; i < count; i++) close(fds[i]);
}

static void take_descriptors(struct msghdr *message, struct packet *packet)
{
  for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (count > PACKET_FDS_MAX - packet->fd_count) count = PACKET_FDS_MAX - packet->fd_count;
    memcpy(packet->fds + packet->fd_count, CMSG_DATA(header), count * sizeof(int));
    packet->fd_count += count;
  }
}

enum received receive_packet(int socket, struct packet *packet)
{
  union control control;
  struct iovec data = {packet->bytes, sizeof packet->bytes};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  packet->length = 0;
  packet->fd_count = 0;
  ssize_t length = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (length < 0) return errno == EAGAIN || errno == EINTR ? LATER : ENDED;
  take_descriptors(&message, packet);
  packet->length = (size_t)length;
  /* Nobody sends an empty packet. */
  enum received received = length == 0 ? ENDED : (message.msg_flags & MSG_TRUNC) != 0 ? TOO_LONG : (message.msg_flags & MSG_CTRUNC) != 0 ? INCOMPLETE : RECEIVED;
  if (received != RECEIVED) {
    close_all(packet->fds, packet->fd_count);
    packet->fd_count = 0;
  }
  return received;
}

bool send_packet(int socket, const struct packet *packet)
{
  union control control;
  struct iovec data = {(void *)packet->bytes, packet->length};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
  if (packet->fd_count > 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * packet->fd_count);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * packet->fd_count);
    memcpy(CMSG_DATA(header), packet->fds, sizeof(int) * packet->fd_count);
  }
  for (;;) {
    if (sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return true;
    if (errno != EINTR) return false;
  }
}
