"""Every bound of the server in one place; a request beyond one is refused with its name."""

# bytes of a body and of all headers together, and how many headers
BODY, HEADERS, NUM_HEADERS = 32 << 20, 32 << 10, 128
# seconds in which a body must have come, and after which a silent stream says that it lives
BODY_SECONDS, KEEP_ALIVE = 60.0, 10.0
# answers to one prompt, prompts of one request, and both together
SAMPLES, PROMPTS, ANSWERS = 16, 64, 64
MESSAGES, TOOLS = 10_000, 128
# tokens of an answer: at most, and when nothing is said
MAX_TOKENS, USUAL_TOKENS = 1 << 20, 4096
STOPS, STOP_LENGTH = 16, 1024
TOP_LOGPROBS, BIASES = 20, 1024
PRIORITY = 100
# what may wait for a slow reader before its stream is dropped
PENDING = 16_384
# a stream that can be resumed: bytes of its events, seconds without a reader, and how many
TAPE, GRACE, TAPES = 4 << 20, 30.0, 256
# seconds that a request may name to be begun in
DEADLINE = 3600.0
# requests at once that the listener takes, and the engine's queue
CONNECTIONS, QUEUE = 2048, 512
# responses that are stored, and their bytes
STORED, STORED_BYTES = 10_000, 1 << 28
# characters of a name, an id or an alias
NAME = 256
KEYS, KEY_LENGTH = 10_000, (8, 256)
