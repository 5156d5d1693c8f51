/* empty.c: a function that does nothing. */
int main(void)
{
    return 0;
}
