#define _GNU_SOURCE
#include "child.h"

#include <signal.h>
#include <spawn.h>
#include <stddef.h>

static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    int rc;

    sigemptyset(&none);
    sigfillset(&all);
    /* What a child inherits else: the signals that nginx lives on, blocked, and ignored SIGPIPE. */
    rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attr, &all);
    if (rc == 0)
        rc = posix_spawnattr_setpgroup(attr, 0);
    if (rc == 0)
        rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    return rc;
}

static int set_actions(posix_spawn_file_actions_t *actions, const char *dir, int in, int out, int err)
{
    int rc = posix_spawn_file_actions_adddup2(actions, in, 0);

    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(actions, out, 1);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(actions, err, 2);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(actions, 3);
    if (rc == 0 && dir != NULL)
        rc = posix_spawn_file_actions_addchdir_np(actions, dir);
    return rc;
}

int nffi_go_spawn(int *pid, const char *path, char **argv, char **envp, const char *dir, int in, int out, int err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    pid_t child = 0;
    int rc = posix_spawnattr_init(&attr);

    if (rc != 0)
        return rc;
    rc = posix_spawn_file_actions_init(&actions);
    if (rc == 0) {
        rc = set_attributes(&attr);
        if (rc == 0)
            rc = set_actions(&actions, dir, in, out, err);
        if (rc == 0)
            rc = posix_spawn(&child, path, &actions, &attr, argv, envp);
        posix_spawn_file_actions_destroy(&actions);
    }
    posix_spawnattr_destroy(&attr);
    *pid = (int)child;
    return rc;
}
