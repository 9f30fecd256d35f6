// The first instructions of the image: one core, floating point on, a stack, zeroed memory, the MMU on; then main, then off.
    .section .text.start, "ax"
    .global _start
_start:
    mrs     x0, mpidr_el1           // the other cores sleep
    and     x0, x0, #0xff
    cbnz    x0, sleep
    mov     x0, #(3 << 20)          // the model computes in vector registers
    msr     cpacr_el1, x0
    isb
    ldr     x0, =stack_top
    mov     sp, x0
    ldr     x0, =bss_start
    ldr     x1, =bss_end
clear:
    cmp     x0, x1
    b.hs    ready
    str     xzr, [x0], #8
    b       clear
ready:
    ldr     x0, =table              // addresses as they are: one gigabyte of devices, one of memory
    mov     x1, #0x401
    str     x1, [x0]
    ldr     x1, =0x40000705
    str     x1, [x0, #8]
    msr     ttbr0_el1, x0
    mov     x1, #0xff00             // attribute 0: device, 1: normal, cached
    msr     mair_el1, x1
    ldr     x1, =0x803519           // 39 bits, pages of 4 KB, cached walks
    msr     tcr_el1, x1
    isb
    mrs     x1, sctlr_el1
    ldr     x2, =0x1005             // MMU, caches
    orr     x1, x1, x2
    msr     sctlr_el1, x1
    isb
    bl      main
    ldr     x0, =0x84000008         // PSCI SYSTEM_OFF
    hvc     #0
sleep:
    wfi
    b       sleep

    .section .bss
    .balign 4096
table:
    .skip   4096

    .section .rodata
    .global images, labels
images:
    .incbin "test.images.u8"
labels:
    .incbin "test.labels.u8"
