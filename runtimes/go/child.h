/* Starting a child that has nothing of nginx's. */
#ifndef NFFI_GO_CHILD_H
#define NFFI_GO_CHILD_H

/* Starts path in a process group of its own: in, out and err (each 3 or above) as 0, 1 and 2, no other descriptor,
 * every signal at its default and none blocked. dir may be NULL: where the thread is.
 * THREAD: any. RETURNS: 0 and *pid, or an error number. */
int nffi_go_spawn(int *pid, const char *path, char **argv, char **envp, const char *dir, int in, int out, int err);

#endif /* NFFI_GO_CHILD_H */
