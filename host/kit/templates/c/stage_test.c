/* Without WebAssembly: cc -o build/test stage_test.c && build/test */
#undef NDEBUG
#include <assert.h>

#include "stage.c"

int main(void) {
    assert(ph_test_open(&stage, "{\"word\": \"error\"}") == NULL);
    ph_test_record records[] = {{.value = "an error"}, {.value = "fine"}};
    ph_test_process(records, 2);
    assert(ph_test_len("out") == 2);
    assert(strcmp(ph_test_get("out", 0, "value"), "AN ERROR") == 0);
    assert(strcmp(ph_test_get("out", 1, "value"), "fine") == 0);
    puts("1 passed");
}
