// The squid axon, exponential steps, written by hand: what one core can do.
// Compiled and run by limit.py; prints processor seconds for each of several repeats.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BLOCK 64

static inline float linoid(float x) { return fabsf(x) < 1e-4f ? 1 - x / 2 : x / (expf(x) - 1); }

static inline float relax(float x, float drive, float rate, float dt) {
  float rest = drive / rate;
  return rest + (x - rest) * expf(-rate * dt);
}

static void run(float *V, float *m, float *h, float *n, const float *I, int count, int steps, float dt) {
  for (int b = 0; b < count; b += BLOCK)
    for (int s = 0; s < steps; s++)
      for (int i = b; i < b + BLOCK; i++) {
        float v = V[i];
        float am = linoid(-(v + 40) / 10), bm = 4 * expf(-(v + 65) / 18);
#ifdef SHARED
        float q = expf(-(v + 65) / 80), q4 = q * q * q * q;
        float ah = 0.07f * q4, bh = 1 / (1 + 20.0855369f * q4 * q4), bn = 0.125f * q;
#else
        float ah = 0.07f * expf(-(v + 65) / 20), bh = 1 / (1 + expf(-(v + 35) / 10));
        float bn = 0.125f * expf(-(v + 65) / 80);
#endif
        float an = 0.1f * linoid(-(v + 55) / 10);
        float M = relax(m[i], am, am + bm, dt), H = relax(h[i], ah, ah + bh, dt);
        float N = relax(n[i], an, an + bn, dt);
        float na = 120 * M * M * M * H, k = 36 * N * N * N * N;
        V[i] = relax(v, na * 50 - k * 77 - 0.3f * 54.387f + I[i], na + k + 0.3f, dt);
        m[i] = M, h[i] = H, n[i] = N;
      }
}

int main(int argc, char **argv) {
  int count = (atoi(argv[1]) + BLOCK - 1) / BLOCK * BLOCK, steps = atoi(argv[2]), repeats = atoi(argv[3]);
  float *V = aligned_alloc(64, 5 * sizeof(float) * count);
  float *m = V + count, *h = m + count, *n = h + count, *I = n + count, sum = 0;
  for (int r = 0; r < repeats; r++) {
    for (int i = 0; i < count; i++)
      V[i] = -65, m[i] = 0.05293f, h[i] = 0.59612f, n[i] = 0.31768f, I[i] = 5 + 15.0f * i / count;
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    run(V, m, h, n, I, count, steps, 0.025f);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    for (int i = 0; i < count; i++) sum += V[i];
    printf("%.9f\n", b.tv_sec - a.tv_sec + 1e-9 * (b.tv_nsec - a.tv_nsec));
  }
  return sum == 42;
}
