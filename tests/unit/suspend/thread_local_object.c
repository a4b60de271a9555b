// Opened by thread_local_block_test.cc; compiled once for each way to find thread-local data.
__thread int number = 7;

int* address_of_number(void) { return &number; }
