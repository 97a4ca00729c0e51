/* The header stands alone, may be included twice, and is C99 and later without a warning. */
#include "tiebreak.h"
#include "tiebreak.h"

#include "layout.h"

int main(void) {
    return tb_abi_version() == TB_ABI_VERSION ? 0 : 1;
}
