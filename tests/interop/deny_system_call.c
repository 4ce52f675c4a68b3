// SPDX-License-Identifier: BSL-1.0
/* deny_system_call NAME PROGRAM [ARGUMENT]...: runs the program under a seccomp filter that refuses one system call:
 *   io_uring_setup  with EPERM, as container runtimes do
 *   epoll_pwait2    with ENOSYS, as kernels before 5.11 do
 * Exits with 77 where no filter can be installed.
 *
 * The filter looks at the number only, which for calls this new is the same on all architectures but alpha. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int refuse(unsigned number, int error) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof rules / sizeof rules[0], rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

int main(int argc, char** argv) {
    static const struct {
        const char* name;
        unsigned number;
        int error;
    } calls[] = {{"io_uring_setup", 425, EPERM}, {"epoll_pwait2", 441, ENOSYS}};

    for (size_t at = 0; argc > 2 && at < sizeof calls / sizeof calls[0]; ++at) {
        if (strcmp(argv[1], calls[at].name) != 0) continue;
        if (refuse(calls[at].number, calls[at].error) != 0) {
            fprintf(stderr, "deny_system_call: no seccomp filter: %s\n", strerror(errno));
            return 77;
        }
        execvp(argv[2], argv + 2);
        fprintf(stderr, "deny_system_call: cannot run %s: %s\n", argv[2], strerror(errno));
        return 126;
    }
    fprintf(stderr, "usage: deny_system_call io_uring_setup|epoll_pwait2 PROGRAM [ARGUMENT]...\n");
    return 2;
}
