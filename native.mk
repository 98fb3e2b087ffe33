# How the C programs are built that stand alone on a node: static, since its C library may be any, and hardened.
CC = clang
CFLAGS := -std=c17 -D_GNU_SOURCE -O2 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Werror \
  -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
LDFLAGS := -static-pie -s -Wl,-z,relro,-z,now,-z,noexecstack
# With every access checked, for tests.
CHECKED_CFLAGS := $(filter-out -O2 -D_FORTIFY_SOURCE=2,$(CFLAGS)) -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all
