/* What the test programs of the C ABI share: counted checks that go on after a failure. */
#ifndef TIEBREAK_TEST_CHECK_H
#define TIEBREAK_TEST_CHECK_H

#include <stdio.h>
#include <string.h>

#include "tiebreak.h"

static int checks_done, checks_failed;

/* One check; `what` says which of several on this line. */
static int check_at(int condition, const char *text, const char *what, int line) {
    checks_done++;
    if (!condition) {
        checks_failed++;
        printf("line %d: %s%s%s\n", line, text, *what ? ": " : "", what);
    }
    return condition;
}

#define CHECK(condition) check_at(!!(condition), #condition, "", __LINE__)

/* A call that must succeed. */
#define OK(call)                                                                            \
    do {                                                                                    \
        tb_status ok_status = (call);                                                       \
        check_at(ok_status == TB_STATUS_OK, #call, ok_status ? tb_last_error_message() : "", __LINE__); \
    } while (0)

/* A call that must fail with `expected`; its message starts with `function` and holds `text`. */
#define FAILS(call, expected, function, text)                                               \
    do {                                                                                    \
        tb_status fails_status = (call);                                                    \
        const char *fails_message = tb_last_error_message();                                \
        check_at(fails_status == (expected), #call " is " #expected, tb_status_name(fails_status), __LINE__); \
        check_at(strncmp(fails_message, function ": ", sizeof function + 1) == 0, "names " function, fails_message, \
                 __LINE__);                                                                 \
        check_at(strstr(fails_message, text) != NULL, "says " text, fails_message, __LINE__); \
    } while (0)

static int finish(const char *program) {
    printf("%s: %d checks, %d failed%s\n", program, checks_done, checks_failed, checks_failed ? "" : ": ok");
    return checks_failed ? 1 : 0;
}

#endif
