/* SPDX-License-Identifier: BSL-1.0
 *
 * deny_uring PROGRAM [ARGUMENT]...: runs the program under a seccomp filter that refuses io_uring_setup with EPERM, as
 * container runtimes do. Exits with 77 where no filter can be installed.
 *
 * The filter looks at the number only: io_uring_setup is 425 on every architecture that Linux has had it on but alpha. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define IO_URING_SETUP 425

int main(int argc, char** argv) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IO_URING_SETUP, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof rules / sizeof rules[0], rules};

    if (argc < 2) {
        fprintf(stderr, "usage: deny_uring PROGRAM [ARGUMENT]...\n");
        return 2;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
        fprintf(stderr, "deny_uring: no seccomp filter: %s\n", strerror(errno));
        return 77;
    }
    execvp(argv[1], argv + 1);
    fprintf(stderr, "deny_uring: cannot run %s: %s\n", argv[1], strerror(errno));
    return 126;
}
