// The header stands alone, may be included twice, and is C++11 and later without a warning.
#include "tiebreak.h"
#include "tiebreak.h"

#include "layout.h"

int main() {
    // C linkage: found under this name, or the program does not link.
    tb_engine *engine = nullptr;
    const tb_status status = tb_engine_free(engine);
    return status == TB_STATUS_OK && tb_abi_version() == TB_ABI_VERSION ? 0 : 1;
}
